"""What the scripts share: how calls are timed, compared and shown."""
