"""The account: tables, figures and Markdown, from result records only."""
