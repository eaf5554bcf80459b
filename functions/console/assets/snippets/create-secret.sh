printf %s "$KEYWARD_KEY" | aws secretsmanager create-secret --name keyward-key --secret-string file:///dev/stdin
