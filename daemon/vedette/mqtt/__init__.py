"""The MQTT client: one connection, the publisher that keeps one up, and the judging of commands."""
