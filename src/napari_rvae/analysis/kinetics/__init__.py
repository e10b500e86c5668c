"""From tracks and units to events, rates and pathways, one module a step."""
