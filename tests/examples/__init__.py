"""The examples, run as their texts say."""
