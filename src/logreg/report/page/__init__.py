"""A run or a sweep as one HTML file that can be sent: no network, no other files; read-only to the results."""
