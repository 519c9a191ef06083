# Notes in the file CLOCK when each command of a script begins, and when the last one has ended.
# Bash reads this before a script if BASH_ENV names it, so that the script itself stays as people write it.
trap 'echo "$EPOCHREALTIME $BASH_COMMAND" >> "$CLOCK"' DEBUG
trap : EXIT
