"""Campaigns: many independent tasks, computed anywhere, each result written once (docs/campaigns.md)."""
