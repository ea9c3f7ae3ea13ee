"""The MCP door: what assistants that speak the Model Context Protocol can do with the documents."""
