pipeline {
    agent any
    stages {
        stage('Image') {
            environment {
                DOCKER_REGISTRY = '@registry@'
            }
            steps {
                withCredentials([usernamePassword(
                    credentialsId: 'registry', usernameVariable: 'DOCKER_LOGIN', passwordVariable: 'DOCKER_PASSWORD'
                )]) {
                    sh '''
                        @pipx@
                        PATH=$PATH:~/.local/bin
                        buildx-cache build -t "$DOCKER_REGISTRY/@image@:{short_sha}" --push auto@cache@ @context@
                    '''
                }
            }
        }
    }
}
