"""The settings of the group ``data``, by what they decide; nothing heavy is imported here."""
