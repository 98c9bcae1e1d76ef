"""Addresses that rclone reads: object stores, SFTP, and whatever remote a secret or an rclone configuration names.

Each look and each transfer is a process of the `rclone` program, with one remote in a configuration that no disk has
seen. HTTP addresses are not brought from here: rclone follows redirects to anywhere.
"""
