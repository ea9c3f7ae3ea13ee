"""Sign-in with a company's identity provider: OpenID Connect, the authorization code with PKCE."""
