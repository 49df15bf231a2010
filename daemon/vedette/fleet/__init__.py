"""The operator's side of updates: keys, a repository of signed releases, its publication, and a view of the fleet."""
