curl -sS -H @- https://api.example.com/iam/v1/whoami <<< "Authorization: Bearer $KEYWARD_KEY"
