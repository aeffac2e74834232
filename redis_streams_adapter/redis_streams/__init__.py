"""The transport over Redis Streams; the only place that imports redis."""
