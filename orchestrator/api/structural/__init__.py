"""Structural schemas of CustomResourceDefinitions: what they may say, and what they do to custom resources."""
