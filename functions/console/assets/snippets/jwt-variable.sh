read -rs KEYWARD_JWT
