cargo new whoami && cd whoami && cargo add ureq@3
