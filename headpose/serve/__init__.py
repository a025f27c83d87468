"""Head poses over HTTP and WebSocket: ``headpose serve``. Needs the extra ``serve``."""
