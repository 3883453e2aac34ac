"""Code that the commands share: exit statuses, types of arguments, flags."""
