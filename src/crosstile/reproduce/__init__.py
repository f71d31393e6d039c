"""Published results beside ours, one file a study, with every difference of set-up."""
