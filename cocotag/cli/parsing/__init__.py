"""What the commands share: exit statuses, kinds of arguments, flags."""
