"""HTTP: routes, keys, answers, errors."""
