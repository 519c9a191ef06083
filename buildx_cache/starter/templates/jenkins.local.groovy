pipeline {
    agent any
    stages {
        stage('Image') {
            steps {
                sh '''
                    @pipx@
                    PATH=~/.local/bin:$PATH
                    buildx-cache build -t @name@ --load --cache local @context@
                '''
            }
        }
    }
}
