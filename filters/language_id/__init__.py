"""Which language is a stretch of text?"""
