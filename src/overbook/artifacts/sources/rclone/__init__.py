"""Object stores and file servers, by the program rclone: one bounded process for what is listed or brought together."""
