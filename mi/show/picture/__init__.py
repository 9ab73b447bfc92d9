"""Pictures: streams in; SVG, HTML, DOT and PNG out, the same bytes for the same stream."""
