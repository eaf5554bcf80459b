export KEYWARD_KEY="$(aws secretsmanager get-secret-value --secret-id keyward-key --query SecretString --output text)"
