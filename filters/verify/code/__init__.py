"""Program answers: extracted, run against tests in the sandbox, compared."""
