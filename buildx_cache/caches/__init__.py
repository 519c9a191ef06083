"""Read and write Buildx' ``--cache-from`` and ``--cache-to`` entries.

``backend`` defines a kind of cache; ``local``, ``registry``, ``inline``, ``gha``, ``s3`` and ``azblob`` are the kinds.
``entry`` defines an entry; ``vertices`` finds its vertices in BuildKit's progress; ``parsing`` reads entries from text.
"""
