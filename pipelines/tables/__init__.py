"""Models of one data set side by side: what was judged, what the dissertation says of it."""
