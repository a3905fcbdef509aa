/* recipe: nextjs/route.ts */
