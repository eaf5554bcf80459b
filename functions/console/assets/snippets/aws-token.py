import json
import os
import urllib.parse
import urllib.request

import boto3

# The global endpoint of STS does not have this operation, so the client needs a region.
sts = boto3.client("sts", region_name=os.environ["AWS_REGION"])
jwt = sts.get_web_identity_token(
    Audience=["AUDIENCE"], SigningAlgorithm="ES384", DurationSeconds=300
)["WebIdentityToken"]
form = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "audience": "ACCOUNT_ID/IDENTITY_ID",
    "subject_token": jwt,
}
with urllib.request.urlopen(
    "https://api.example.com/iam/v1/token", urllib.parse.urlencode(form).encode()
) as response:
    token = json.load(response)["access_token"]
request = urllib.request.Request(
    "https://api.example.com/iam/v1/whoami",
    headers={"Authorization": f"Bearer {token}"},
)
with urllib.request.urlopen(request) as response:
    print(response.read().decode())
