"""The test harness: a whole cluster inside the caller's own process."""
