"""Kinds of clusters that choose their hosts in a way of their own."""
