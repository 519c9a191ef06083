pipeline {
    agent any
    stages {
        stage('Image') {
            steps {
                sh '''
                    @agent@ build -t @name@ --load --cache local @context@
                '''
            }
        }
    }
}
