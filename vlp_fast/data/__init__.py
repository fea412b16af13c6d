"""From files to tensors: annotation layouts, images, text, sample order. Imports no model."""
