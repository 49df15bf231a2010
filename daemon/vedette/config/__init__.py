"""The typed configuration: what every key means (`models`) and how it is read (`load`)."""
