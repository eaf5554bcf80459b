token=$(aws sts get-web-identity-token --audience "AUDIENCE" --signing-algorithm ES384 --duration-seconds 300 \
  --query WebIdentityToken --output text | tr -d '\n' | curl -fsS https://api.example.com/iam/v1/token \
  -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
  -d subject_token_type=urn:ietf:params:oauth:token-type:jwt \
  -d audience=ACCOUNT_ID/IDENTITY_ID \
  --data-urlencode subject_token@- | jq -er .access_token)
printf 'Authorization: Bearer %s' "$token" | curl -fsS -H @- https://api.example.com/iam/v1/whoami
