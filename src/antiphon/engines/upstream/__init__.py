"""A model on another server that speaks OpenAI's chat completions: what it lacks is supplied, what it breaks mended."""
