"""The numeric floor: sparse products, segment reductions, all-pairs log-sum-exp, nearest neighbours."""
