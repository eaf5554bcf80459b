import os
import urllib.request

request = urllib.request.Request(
    "https://api.example.com/iam/v1/whoami",
    headers={"Authorization": f"Bearer {os.environ['KEYWARD_KEY']}"},
)
with urllib.request.urlopen(request) as response:
    print(response.read().decode())
