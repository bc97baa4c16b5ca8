"""Load balancers: `base` (priorities, panic, localities), then one policy per file; `factory` makes them."""
