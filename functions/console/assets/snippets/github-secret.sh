gh secret set KEYWARD_KEY
