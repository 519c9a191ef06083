pipeline {
    agent any
    stages {
        stage('Image') {
            steps {
                sh '''
                    @pipx@
                    PATH=$PATH:~/.local/bin
                    buildx-cache build -t @name@ --load --cache local @context@
                '''
            }
        }
    }
}
