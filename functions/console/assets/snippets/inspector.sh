npx -y @modelcontextprotocol/inspector --cli https://mcp.example.com/mcp/my-api --transport http \
  --stored-auth-only --header "Authorization: Bearer $KEYWARD_KEY" --method tools/list
