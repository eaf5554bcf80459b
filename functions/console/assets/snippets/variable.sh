read -rs KEYWARD_KEY && export KEYWARD_KEY
