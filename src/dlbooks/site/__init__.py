"""Templates, style, script and prose of the results site that ``dlbooks.report`` builds."""
