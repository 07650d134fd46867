"""What the screens share that is not a widget: the mirror, the session with the proxy, themes, the terminal."""
