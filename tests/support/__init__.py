"""What the tests are made with: real servers, real clients, real Redis."""
