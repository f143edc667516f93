"""Parts of the benchmark of methods: data sets, methods, tasks, summary, figures, report."""
