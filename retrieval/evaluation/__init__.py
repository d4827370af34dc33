"""Judging search by queries whose right answers are known, through the same steps that answer a query."""
